#include <gmock/gmock.h>

#include "model/generate.h"

namespace lowbit {
namespace {

struct Shown {
  std::string text;
  bool stopped;
};

/// Pushes pieces, collecting what is shown; checks that nothing is shown late or early.
Shown show(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopStrings s(stops);
  std::string text;
  for (const std::string& piece : pieces) text += s.push(piece);
  text += s.flush();
  return {text, s.stopped()};
}

TEST(StopStrings, TextWithoutAStopPassesAtOnce) {
  StopStrings s({"###"});
  EXPECT_EQ(s.push("hello"), "hello");
  EXPECT_EQ(s.push(" world"), " world");
  EXPECT_EQ(s.flush(), "");
  EXPECT_FALSE(s.stopped());
}

TEST(StopStrings, ABeginningIsHeldBackUntilSure) {
  StopStrings s({"<end>"});
  EXPECT_EQ(s.push("abc<e"), "abc");
  EXPECT_EQ(s.push("n"), "");
  EXPECT_EQ(s.push("emy>"), "<enemy>");
  EXPECT_EQ(s.push("<en"), "");
  EXPECT_EQ(s.flush(), "<en");
}

TEST(StopStrings, StopsAcrossPiecesAndKeepsWhatPrecedes) {
  const Shown r = show({"\nUser:"}, {"Hi", ".\n", "Us", "er", ": more", " text"});
  EXPECT_EQ(r.text, "Hi.");
  EXPECT_TRUE(r.stopped);
}

TEST(StopStrings, TheEarliestOfSeveralWins) {
  EXPECT_EQ(show({"yz", "x"}, {"abxyz"}).text, "ab");
  EXPECT_EQ(show({"x", "abx"}, {"cab", "x"}).text, "c");
}

TEST(StopStrings, OverlappingBeginningsAreFollowed) {
  EXPECT_EQ(show({"aab"}, {"a", "a", "a", "b", "c"}).text, "a");
  EXPECT_EQ(show({"aab"}, {"aaaac"}).text, "aaaac");
}

TEST(StopStrings, EveryPlaceOfEverySplitGivesTheSame) {
  const std::string text = "one two STOP three";
  for (size_t a = 0; a <= text.size(); ++a) {
    for (size_t b = a; b <= text.size(); ++b) {
      const Shown r = show({"STOP", "STEP"}, {text.substr(0, a), text.substr(a, b - a), text.substr(b)});
      ASSERT_EQ(r.text, "one two ") << a << ' ' << b;
    }
  }
}

TEST(StopStrings, EmptyAndImpossibleStopsAreIgnored) {
  // The second begins with a continuation byte: matching it would cut the euro sign in two.
  const Shown r = show({"", "\x82\xac"}, {"1 \xe2\x82\xac", " 2"});
  EXPECT_EQ(r.text, "1 \xe2\x82\xac 2");
  EXPECT_FALSE(r.stopped);
}

}  // namespace
}  // namespace lowbit
