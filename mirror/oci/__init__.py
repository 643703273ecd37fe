"""`/v2/`: GGUF models as Ollama, skopeo, oras and old llama.cpp builds ask for them (OCI Distribution 1.1).

A repo is an image repository of the same name, a variant a tag, a GGUF file a layer under its own sha256. Manifests and
the few small blobs that no commit has (the config) are made anew for each request, always with the same bytes, so
nothing is stored for them. Read-only.
"""
