# One place for how every file is compiled.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE}")
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                    -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough -Werror)

# Hardening costs nothing measurable here and the binary parses foreign bytes.
if(CMAKE_BUILD_TYPE MATCHES "Release|RelWithDebInfo")
  add_compile_options(-fstack-protector-strong -fcf-protection -D_FORTIFY_SOURCE=2
                      -D_GLIBCXX_ASSERTIONS -fstack-clash-protection)
  add_link_options(-Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed)
endif()

set(PG_REJOIN_SANITIZE "" CACHE STRING "Sanitizers: address,undefined or thread")
if(PG_REJOIN_SANITIZE)
  add_compile_options(-fsanitize=${PG_REJOIN_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PG_REJOIN_SANITIZE})
endif()

option(PG_REJOIN_COVERAGE "Instrument for gcovr" OFF)
if(PG_REJOIN_COVERAGE)
  # Atomic: several threads count at once.
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()
