"""What a GPU engine needs: the GPU itself, TensorRT to build for it, a cache of what was built."""
