# What was built: quern_commit_header(target) gives `target` a header "build_commit.h" that defines QUERN_COMMIT, the
# commit of the tree at the time of the build (not of the configuration), with "-dirty" where files differ from it.
#
# The header is looked at in every build and rewritten only when it changed: then one file is compiled and the programs
# are linked again. Without git, or outside a clone of this project, the commit is "unknown".
#
# The same file is the script that writes it: cmake -DSOURCE_DIR=... -DHEADER=... -P commit.cmake

if(CMAKE_SCRIPT_MODE_FILE)
  set(commit unknown)
  # A source tree unpacked inside somebody else's clone is not a commit of that clone.
  execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --show-cdup OUTPUT_VARIABLE up RESULT_VARIABLE failed
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(failed EQUAL 0 AND up STREQUAL "")
    execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12 OUTPUT_VARIABLE described
                    RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(failed EQUAL 0 AND described)
      set(commit ${described})
    endif()
  endif()
  set(text "#define QUERN_COMMIT \"${commit}\"\n")
  set(present "")
  if(EXISTS ${HEADER})
    file(READ ${HEADER} present)
  endif()
  if(NOT present STREQUAL text)
    file(WRITE ${HEADER} ${text})
  endif()
  return()
endif()

set(QUERN_COMMIT_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(quern_commit_header target)
  set(folder ${CMAKE_BINARY_DIR}/generated)
  add_custom_target(quern_commit COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${CMAKE_SOURCE_DIR} -DHEADER=${folder}/build_commit.h
                                         -P ${QUERN_COMMIT_SCRIPT}
                    BYPRODUCTS ${folder}/build_commit.h COMMENT "Which commit is this?" VERBATIM)
  add_dependencies(${target} quern_commit)
  target_include_directories(${target} PRIVATE ${folder})
endfunction()
