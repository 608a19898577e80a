"""Training: the VAE, the base model and the memory, from a YAML file, through the pipeline's own conditioning code.

`config` and `sections` say what can be set, `objective` is the method's loss, `plan` decides what every batch consists
of, `clips`, `encode` and `store` bring the data, `loop` is the one loop, `vae` and `denoise` are what is trained,
`stages` puts everything together, `run.train` is the entry. `prepare` turns real videos into training data, which
`footage` reads.
"""
