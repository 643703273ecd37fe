"""Running what a conversion made, inside a throw-away process, and measuring it against its parent. Pure.

| module | what it knows |
|---|---|
| engine.py | the contract: load, logits, tokens, text; what an engine says of itself |
| llamacpp.py, llama_api.py | llama.cpp from the pinned wheel, through ctypes |
| transformers.py | the reference implementation, when torch is installed |
| vocabulary.py | only the tokenizer of a checkpoint, read by its own library |
| sandbox.py, child.py, confine.py | the process border: who asks, who runs, what is forbidden there |
| selftest.py, known/ | the known answers an engine must give before it may judge anything |
| windows.py, texts/ | the evaluation texts, cut into windows of token ids |
| fidelity.py, greedy.py | how far two models are apart; what they write |
| readings.py, reading_file.py | what a parent says, kept so that it need not run again |
| limits.py, limits.json | how far they may be, by class and against our own requantisation |
| tensors.py, distances.py, strays.py, surveying.py | every tensor, and its parent's, without running anything |
| parents.py, tracing.py | the parent's weights under the artifact's names; where rows that are not in place come from |
| fitting.py, memory.py | what runs whole, streamed or in part, with the memory and the time there is |
| streaming.py, paging.py, passes.py, layers.py | a model larger than memory: to the bit, or its first layers |
| subjects.py, gaps.py | what an artifact is, by its headers and its config; what is missing from it |
| report.py | every check with its verdict, and the verdict on the whole |
| checks/, judge.py | the checks, one a module, and all of them in order |
| kinds/ | how each kind of artifact is run and compared |
| pairs.py, embeddings.py, {llama,transformers}_embeddings.py | sentences, and how far two models' vectors are apart |
| adapters.py | what a LoRA adapter adds, and to a base |
| onnxruntime.py, onnx_inputs.py, onnx_selftest.py, outputs.py, same_values.py | networks in ONNX: run, fed, compared |
| own_gguf.py | a checkpoint as our own F32 GGUF, for an engine that reads nothing else |
| usage.py | CPU and memory that a child took |
| local.py | the parent of a file on this machine |
| table.py, __main__.py | a report as text; `python -m conversion.inference FILE` |
"""
