# Read by CMake right after llama.cpp's own project() call (CMAKE_PROJECT_llama.cpp_INCLUDE).
# llama-cpp-python forces LLAMA_BUILD_COMMON on in the cache, yet ships nothing of it but headers: its loader opens
# libllama and libggml alone. A normal variable wins over the cache and leaves those 100 objects out.
set(LLAMA_BUILD_COMMON OFF)
