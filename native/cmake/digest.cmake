# Write a header with the digest of the driver's sources: cmake -D ROOT=native -D OUTPUT=FILE -P digest.cmake
#
# The SHA-256 of one line a file, as `sha256sum` writes it; tests/native/test_build.py works it out by itself.
file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/include/*.h ${ROOT}/src/*.h ${ROOT}/src/*.cpp)
list(APPEND files CMakeLists.txt)
list(SORT files)
set(lines "")
foreach(file ${files})
  file(SHA256 ${ROOT}/${file} digest)
  string(APPEND lines "${digest}  ${file}\n")
endforeach()
string(SHA256 digest "${lines}")
file(WRITE ${OUTPUT} "#define PLG_SOURCES_DIGEST \"${digest}\"\n")
