#include "quantize/calibration/held_out.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "model/tiny_model.h"
#include "model/tiny_tokenizer.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr size_t kRun = 16;  // tokens in a row that samples may not share

std::set<std::vector<int32_t>> runs(std::span<const int32_t> ids) {
  std::set<std::vector<int32_t>> out;
  for (size_t i = 0; i + kRun <= ids.size(); ++i) out.emplace(ids.begin() + i, ids.begin() + i + kRun);
  return out;
}

class HeldOut : public testing::Test {
 protected:
  HeldOut() : path_(testing::TempDir() + "held_out_" + std::to_string(getpid()) + ".txt") {
    model_.context = 4096;
    std::mt19937 random(3);
    std::string text;
    for (int i = 0; i < 100 * kLength; ++i) text += static_cast<char>('!' + random() % 90);
    put(text);
  }
  ~HeldOut() override { std::filesystem::remove(path_); }

  void put(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  CalibrationOptions options(int64_t samples) const { return {{path_}, samples, kLength}; }
  CalibrationTokens used(int64_t samples) const { return calibration_tokens(model_, tokenizer_, options(samples)); }
  CalibrationTokens held_out(int64_t samples, const std::vector<std::vector<int32_t>>& seen) const {
    return held_out_tokens(model_, tokenizer_, options(samples), seen);
  }

  static constexpr int64_t kLength = 64;
  const std::filesystem::path path_;
  ModelConfig model_ = tiny_config(64, 2, kTinyVocab);
  const Tokenizer tokenizer_{tiny_tokenizer()};
};

TEST_F(HeldOut, SharesNoRunWithWhatWasUsed) {
  for (const int64_t samples : {16, 40, 80}) {
    const std::vector<int32_t> seen = used(samples).ids;
    const CalibrationTokens out = held_out(12, {seen});
    EXPECT_EQ(out.samples(), 12);
    EXPECT_EQ(out.length, kLength);
    EXPECT_THAT(out.note, IsEmpty());
    const auto theirs = runs(seen);
    for (int64_t s = 0; s < out.samples(); ++s) {
      for (const auto& run : runs(std::span(out.ids).subspan(static_cast<size_t>(s * kLength), kLength))) {
        EXPECT_FALSE(theirs.contains(run)) << "sample " << s << " of " << samples;
      }
    }
  }
}

TEST_F(HeldOut, IsHeldApartFromAllThatIsNamed) {
  const std::vector<int32_t> all = used(0).ids;
  const auto half = static_cast<std::ptrdiff_t>(all.size() / 2);
  const std::vector<int32_t> first(all.begin(), all.begin() + half), second(all.begin() + half, all.end());
  EXPECT_THAT(held_out(200, {first}).note, IsEmpty());
  EXPECT_THAT(held_out(200, {second}).note, IsEmpty());
  EXPECT_THAT(held_out(200, {first, second}).note, HasSubstr("too short")) << "nothing is left";
}

TEST_F(HeldOut, ASharedRunAnywhereInASampleRulesItOut) {
  const std::vector<int32_t> all = used(0).ids;
  // A run across the middle of each of the first 50 samples, at another place than a sample's begin.
  std::vector<std::vector<int32_t>> seen;
  for (int64_t s = 0; s < 50; ++s) {
    const auto at = all.begin() + s * kLength + 21;
    seen.emplace_back(at, at + static_cast<int64_t>(kRun));
  }
  const CalibrationTokens out = held_out(200, seen);
  EXPECT_EQ(out.samples(), static_cast<int64_t>(all.size()) / kLength - 50);
  for (std::vector<int32_t>& run : seen) run.pop_back();  // 15 tokens alike are chance
  EXPECT_EQ(held_out(200, seen).samples(), static_cast<int64_t>(all.size()) / kLength);
}

TEST_F(HeldOut, IsSpreadOverTheTextAndAlwaysTheSame) {
  const std::vector<int32_t> all = used(0).ids;
  const CalibrationTokens out = held_out(10, {});
  EXPECT_EQ(held_out(10, {}).ids, out.ids);
  std::vector<int64_t> places;
  for (int64_t s = 0; s < out.samples(); ++s) {
    const auto at =
        std::search(all.begin(), all.end(), out.ids.begin() + s * kLength, out.ids.begin() + (s + 1) * kLength);
    places.push_back((at - all.begin()) / kLength);
  }
  const int64_t count = static_cast<int64_t>(all.size()) / kLength;
  for (int64_t s = 0; s < 10; ++s) EXPECT_EQ(places[static_cast<size_t>(s)], s * count / 10);
}

TEST_F(HeldOut, OfAShortTextAllIsTakenAndTold) {
  put("Ten thousand years is a long time to wait for a text that has an end. " + std::string(20 * kLength, '!'));
  const std::vector<int32_t> seen = used(0).ids;
  const CalibrationTokens out = held_out(8, {seen});
  EXPECT_THAT(out.note, HasSubstr("flatters"));
  EXPECT_EQ(out.samples(), 8);
}

}  // namespace
}  // namespace lowbit
