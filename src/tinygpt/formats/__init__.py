"""How models lie on the disk and come from elsewhere: safetensors, HF folders, hub, GGUF, nanoGPT.

In: a folder, a hub name, a checkpoint of nanoGPT or minGPT. Out: named arrays, a config and a
tokenizer whose claims were checked first; or a new folder or GGUF file. Open model_folder.py first,
then weights.py.
"""
