# Builds fintune-cuda.node: finds nvcc, compiles native/cuda/*.cu for every architecture, links the runtime statically.
# The addon has no link to the driver: it loads without one and says why there is no GPU.
set(FINTUNE_CUDA_ARCHITECTURES "" CACHE STRING "GPU architectures, e.g. 80;90a; empty: all that fintune supports")

# scripts/cuda-toolkit.mjs knows where toolkits lie and which is new enough; plain CMake asks it as npm run build does.
if(NOT CMAKE_CUDA_COMPILER)
  string(REPLACE ";" "," wanted "${FINTUNE_CUDA_ARCHITECTURES}")
  execute_process(COMMAND ${CMAKE_COMMAND} -E env "FINTUNE_CUDA_ARCHITECTURES=${wanted}"
                          node ${CMAKE_SOURCE_DIR}/scripts/cuda-toolkit.mjs
                  OUTPUT_VARIABLE nvcc ERROR_VARIABLE reason OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(nvcc)
    set(CMAKE_CUDA_COMPILER ${nvcc} CACHE FILEPATH "nvcc")
  elseif(FINTUNE_CUDA STREQUAL ON)
    message(FATAL_ERROR "FINTUNE_CUDA=ON, but there is no CUDA toolkit (npm run cuda:toolchain installs one):\n${reason}")
  else()
    message(STATUS "No CUDA toolkit: the addon computes on the CPU")
    return()
  endif()
endif()

set(architectures ${FINTUNE_CUDA_ARCHITECTURES})
if(NOT architectures)
  set(architectures 75 80 86 89 90a 100 120)
endif()
set(codes)
set(ptx 0)
foreach(architecture IN LISTS architectures)
  list(APPEND codes -gencode=arch=compute_${architecture},code=sm_${architecture})
  # PTX of the newest architecture, in its portable form.
  string(REGEX REPLACE "[af]$" "" number ${architecture})
  if(number GREATER ptx)
    set(ptx ${number})
  endif()
endforeach()
list(APPEND codes -gencode=arch=compute_${ptx},code=compute_${ptx})
set(codes_sm90a)
if("90a" IN_LIST architectures)
  set(codes_sm90a -gencode=arch=compute_90a,code=sm_90a)
endif()
string(REPLACE ";" " " architectures "${architectures}")

# CMake's own list would refuse architectures that are newer than it is; the options above say all.
set(CMAKE_CUDA_ARCHITECTURES OFF)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(NOT CMAKE_CUDA_HOST_COMPILER)
  set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
endif()
enable_language(CUDA)
find_library(FINTUNE_CUDART cudart_static HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} NO_CACHE)
if(NOT FINTUNE_CUDART)
  message(FATAL_ERROR "${CMAKE_CUDA_COMPILER}: this toolkit has no libcudart_static.a")
endif()

# Products and sums are fused only where the code says fma, as on the CPU: so a kernel's bits depend neither on the
# compiler nor on the architecture, and are those of the host that executes it in tests. Division and square root are
# IEEE's, denormals are kept (nvcc's defaults, stated).
function(add_cuda_kernels name codes sources)
  add_library(${name} OBJECT ${sources})
  target_include_directories(${name} PRIVATE native)
  target_compile_options(${name} PRIVATE
    ${codes} --fmad=false --ftz=false --prec-div=true --prec-sqrt=true
    "-Xcompiler=-Wall,-Wextra,-Wno-unused-parameter,-ffp-contract=off,-fno-math-errno")
  # Smaller machine code; drivers that CUDA 12 serves may know only the older form of compression.
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
    target_compile_options(${name} PRIVATE -compress-mode=size)
  else()
    target_compile_options(${name} PRIVATE -Xfatbin=-compress-all)
  endif()
  # nvcc through a cache by content, which also keeps what ptxas says for scripts/ptxas-report.mjs.
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
                        CUDA_COMPILER_LAUNCHER "node;${CMAKE_SOURCE_DIR}/scripts/nvcc.mjs")
endfunction()

file(GLOB cuda_kernels CONFIGURE_DEPENDS native/cuda/*.cu)
set(sm90a_kernels ${cuda_kernels})
list(FILTER sm90a_kernels INCLUDE REGEX "_sm90a\\.cu$")
list(REMOVE_ITEM cuda_kernels ${sm90a_kernels})
add_cuda_kernels(cuda "${codes}" "${cuda_kernels}")
# Instructions that only sm_90a has: files of their own, and whoever would call them is told that they are there.
set(cuda_sm90a_objects)
if(codes_sm90a)
  add_cuda_kernels(cuda_sm90a "${codes_sm90a}" "${sm90a_kernels}")
  set(cuda_sm90a_objects $<TARGET_OBJECTS:cuda_sm90a>)
  set_source_files_properties(native/cuda/attention.cu native/cuda/gemm_hopper.cu PROPERTIES
                              COMPILE_DEFINITIONS FINTUNE_SM90A)
endif()

# Host code of the backend needs no nvcc.
file(GLOB cuda_host CONFIGURE_DEPENDS native/cuda/*.cc)
list(REMOVE_ITEM cuda_host ${CMAKE_SOURCE_DIR}/native/cuda/absent.cc)
add_library(cuda_host OBJECT ${cuda_host})
target_compile_options(cuda_host PRIVATE ${warnings} ${arithmetic})
target_include_directories(cuda_host PRIVATE native)
target_include_directories(cuda_host SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
set_target_properties(cuda_host PROPERTIES CXX_VISIBILITY_PRESET hidden)
set_source_files_properties(native/cuda/errors.cc PROPERTIES COMPILE_DEFINITIONS
  "FINTUNE_CUDA_ARCHITECTURES=\"${architectures}\";FINTUNE_CUDA_PTX=\"${ptx}\"")

add_addon(fintune-cuda $<TARGET_OBJECTS:no_simt> $<TARGET_OBJECTS:cuda_host> $<TARGET_OBJECTS:cuda>
          ${cuda_sm90a_objects})
target_link_libraries(fintune-cuda PRIVATE ${FINTUNE_CUDART} ${CMAKE_DL_LIBS} rt)
