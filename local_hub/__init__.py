"""A small Hugging Face Hub on loopback: `python -m local_hub --root DIR --port N`, for the offline demo and the tests.

The real clients (huggingface_hub, datasets, transformers, peft, TRL) talk to it when HF_ENDPOINT names it and
HF_HUB_DISABLE_XET=1 keeps them to Git LFS uploads. The server itself imports none of them.
"""
