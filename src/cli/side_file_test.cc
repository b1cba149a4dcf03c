// What a loss of power leaves: a folder that is not written out after rename() may still hold the old name.
#include "cli/side_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace {

std::string watched;                    // a file
std::vector<std::string> at_each_sync;  // of its folder: what it held

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

/// The process's own in place of the C library's: sees which folder is written out, and when.
extern "C" int fsync(int file) {
  struct stat opened {};
  struct stat folder {};
  if (!watched.empty() && ::fstat(file, &opened) == 0 &&
      ::stat(std::filesystem::path(watched).parent_path().c_str(), &folder) == 0 && opened.st_dev == folder.st_dev &&
      opened.st_ino == folder.st_ino)
    at_each_sync.push_back(text_of(watched));
  return static_cast<int>(::syscall(SYS_fsync, file));
}

namespace quern {
namespace {

TEST(SideFile, IsOnTheDiskUnderItsNameWhenWriteReturns) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("quern_side_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  watched = folder / "out.npy.done";
  const SideFile file(watched);
  ASSERT_TRUE(file.write("one\n").ok());
  ASSERT_TRUE(file.write("two\n").ok());
  EXPECT_EQ(at_each_sync, (std::vector<std::string>{"quern embed\none\n", "quern embed\ntwo\n"}));
  watched.clear();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quern
