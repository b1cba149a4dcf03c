#include "cli/commands.h"

int main(int argc, char** argv) { return quern::run_command(argc, argv); }
