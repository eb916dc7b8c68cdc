#include <fmt/core.h>
int main() { fmt::print("lowbit\n"); }
