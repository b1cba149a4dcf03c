# The CUDA part: libquern_cuda.so, made of src/ops/cuda/device, the only thing that links CUDA and cuBLASLt. Programs open it
# at run time (src/ops/cuda/open_cuda_ops.cc, in quern_ops_cuda, which links nothing of it).
#
# CMake 3.25 knows neither C++20 for CUDA 13 nor 90a: both are told to nvcc here.
if(QUERN_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES OFF)
  enable_language(CUDA)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  find_package(CUDAToolkit 12.4 REQUIRED)

  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/ops/cuda/device/*.cc ${CMAKE_SOURCE_DIR}/src/ops/cuda/device/*.cu)
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  set(codes "")
  foreach(code ${QUERN_CUDA_ARCHITECTURES})
    list(APPEND codes "SHELL:-gencode arch=compute_${code},code=sm_${code}")
  endforeach()

  add_library(quern_cuda SHARED ${sources})
  target_include_directories(quern_cuda PRIVATE ${CMAKE_SOURCE_DIR}/src ${CUDAToolkit_INCLUDE_DIRS})
  # Nothing of the object is seen but its entry: the program has functions of the same names.
  set_target_properties(quern_cuda PROPERTIES CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
                        VISIBILITY_INLINES_HIDDEN ON CUDA_STANDARD 20)
  target_compile_options(quern_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow>
                         "$<$<COMPILE_LANGUAGE:CUDA>:-lineinfo;--compiler-options=-Wall>")
  foreach(code ${codes})
    target_compile_options(quern_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${code}>")
  endforeach()
  target_link_libraries(quern_cuda PRIVATE CUDA::cudart_static CUDA::cublasLt)

  if(QUERN_TESTS)
    file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/ops/cuda/device/*_test.cc)
    if(tests)
      add_executable(quern_ops_cuda_test ${tests})
      target_link_libraries(quern_ops_cuda_test PRIVATE quern_ops_cuda quern_worker GTest::gtest GTest::gtest_main)
      target_compile_definitions(quern_ops_cuda_test PRIVATE QUERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
      quern_target_options(quern_ops_cuda_test)
      add_dependencies(quern_ops_cuda_test quern_cuda)
      gtest_discover_tests(quern_ops_cuda_test DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600 LABELS gpu ENVIRONMENT
                           "QUERN_CUDA_LIBRARY=$<TARGET_FILE:quern_cuda>")
    endif()
  endif()

  if(QUERN_BENCH)
    add_executable(gpu_bench ${CMAKE_SOURCE_DIR}/bench/gpu_bench.cc)
    target_link_libraries(gpu_bench PRIVATE quern_ops_cuda quern_worker)
    quern_target_options(gpu_bench)
    add_dependencies(gpu_bench quern_cuda)
    add_executable(http_load ${CMAKE_SOURCE_DIR}/bench/http_load.cc)
    quern_target_options(http_load)
  endif()
endif()
