#include "model/repack_cache.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "model/tiny_model.h"
#include "model/transformer.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

class RepackCacheTest : public testing::Test {
 protected:
  RepackCacheTest()
      : folder_(fs::temp_directory_path() / ("lowbit-repack-" + std::to_string(getpid()))), pool_(2), tiny_([] {
          TinyOptions o;
          o.config = tiny_config(256, 2, 80);
          o.matrices = &encoding(EncodingId::Q4_K);
          o.gguf = true;
          return o;
        }()) {
    fs::remove_all(folder_);
  }
  ~RepackCacheTest() override { fs::remove_all(folder_); }

  /// The hidden states of a few tokens, by a model that was loaded with this cache (or none).
  std::vector<float> result(RepackCache* cache) {
    Transformer model(tiny_.source, pool_, ActivationRounding::Fine, cache);
    const std::vector<int32_t> tokens = {1, 5, 7, 11, 2};
    KvCache keys(model.config(), 5);
    const Segment segment{tokens, &keys};
    return model.forward({&segment, 1});
  }
  fs::path file() const { return fs::directory_iterator(folder_)->path(); }
  void change_byte(uint64_t at) const {
    std::fstream stream(file(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(stream.get());
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(byte ^ 1));
  }

  const fs::path folder_;
  ThreadPool pool_;
  TinyModel tiny_;
};

TEST_F(RepackCacheTest, SecondStartTakesWhatTheFirstOneKept) {
  RepackCache first(folder_, tiny_.source);
  EXPECT_FALSE(first.filled());
  const std::vector<float> expected = result(nullptr);
  EXPECT_EQ(result(&first), expected);
  EXPECT_THAT(first.note(), IsEmpty());

  // Only the cache knows the weights now.
  for (const TensorInfo& info : tiny_.store().tensors()) {
    if (info.encoding->id == EncodingId::Q4_K && info.name.find("blk.") == 0) {
      std::ranges::fill(tiny_.store().bytes(info.name), std::byte{0});
    }
  }
  RepackCache second(folder_, tiny_.source);
  EXPECT_TRUE(second.filled());
  EXPECT_EQ(second.path(), first.path());
  EXPECT_EQ(result(&second), expected);
  EXPECT_THAT(second.note(), IsEmpty());
  EXPECT_NE(result(nullptr), expected);
}

TEST_F(RepackCacheTest, ADamagedFileIsReplaced) {
  const std::vector<float> expected = result(nullptr);
  {
    RepackCache cache(folder_, tiny_.source);
    result(&cache);
  }
  const uint64_t size = fs::file_size(file());
  change_byte(4096 + 100);  // of the first matrix
  RepackCache cache(folder_, tiny_.source);
  EXPECT_TRUE(cache.filled());
  EXPECT_EQ(result(&cache), expected) << "the damaged matrix is packed again";
  EXPECT_THAT(cache.note(), HasSubstr("damaged"));
  EXPECT_FALSE(fs::exists(cache.path()));

  RepackCache again(folder_, tiny_.source);
  EXPECT_EQ(result(&again), expected);
  for (const uint64_t at : {uint64_t{3}, uint64_t{8}, uint64_t{17}, size - 2}) {  // of the head, of the directory
    change_byte(at);
    RepackCache broken(folder_, tiny_.source);
    EXPECT_FALSE(broken.filled()) << at;
    EXPECT_THAT(broken.note(), HasSubstr(broken.path().string())) << at;
    EXPECT_EQ(result(&broken), expected);
    EXPECT_TRUE(RepackCache(folder_, tiny_.source).filled()) << at;
  }
  fs::resize_file(file(), size / 2);
  EXPECT_FALSE(RepackCache(folder_, tiny_.source).filled());
}

TEST_F(RepackCacheTest, AFileOfTheModelAsItWasIsReplaced) {
  fs::create_directories(folder_);
  const fs::path model = folder_ / "model";
  std::ofstream(model) << "weights";
  tiny_.store().where_files = {model};
  {
    RepackCache cache(folder_, tiny_.source);
    result(&cache);
  }
  EXPECT_TRUE(RepackCache(folder_, tiny_.source).filled());
  std::ofstream(model, std::ios::app) << " of another training run";
  RepackCache cache(folder_, tiny_.source);
  EXPECT_FALSE(cache.filled());
  EXPECT_THAT(cache.note(), IsEmpty());
  result(&cache);
  EXPECT_TRUE(RepackCache(folder_, tiny_.source).filled());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 2) << "one file a model";
}

TEST_F(RepackCacheTest, WithoutAFolderWeightsArePackedAsEver) {
  std::ofstream(folder_) << "a file where the folder should be";
  RepackCache cache(folder_ / "below", tiny_.source);
  EXPECT_FALSE(cache.filled());
  EXPECT_EQ(result(&cache), result(nullptr));
  EXPECT_THAT(cache.note(), HasSubstr(folder_.string()));
}

}  // namespace
}  // namespace lowbit
