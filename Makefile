# The two commands of the README, and the steps they share. Everything else is in CMakePresets.json.
LAUNCHER = $(shell command -v ccache >/dev/null && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

.PHONY: all setup build test demo

all: build

setup:
	@tools/setup

build: setup
	@cmake --preset release $(LAUNCHER) >build.log 2>&1 || { cat build.log; exit 1; }
	@cmake --build --preset release

test: build
	@tools/setup arm64 || echo "no cross compiler or libraries for ARM: its tests are skipped"
	ctest --preset release

demo: build
	@tools/demo
