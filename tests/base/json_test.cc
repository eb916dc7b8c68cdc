#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Act>
std::string error_of(const Act& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

/// An object of `n` members k0, k1, ... with the values 0, 1, ...
Json numbered(int n) {
  Json object = Json::object();
  for (int i = 0; i < n; ++i) object[fmt::format("k{}", i)] = i;
  return object;
}

TEST(Json, KeepsTheOrderOfTheText) {
  const std::string text = R"({"z":1,"a":{"y":[1,2.5,null,true],"b":"x"},"m":-3})";
  EXPECT_EQ(parse_json(text, "t").dump(), text);
  EXPECT_EQ(parse_json(R"({"a":1,"b":2,"a":3})", "t").dump(), R"({"a":3,"b":2})");
}

TEST(Json, ObjectsOfAnySizeBehaveAlike) {
  for (const int n : {0, 1, 15, 16, 17, 18, 100}) {
    Json object = numbered(n);
    ASSERT_EQ(object.size(), static_cast<size_t>(n));
    const Json copy = object;
    for (int i = 0; i < n; ++i) {
      const std::string key = fmt::format("k{}", i);
      ASSERT_TRUE(copy.contains(key));
      EXPECT_EQ(copy.at(key), i);
      EXPECT_EQ(copy[key], i);
      EXPECT_EQ(*copy.find(key), i);
    }
    EXPECT_FALSE(copy.contains(fmt::format("k{}", n)));
    EXPECT_THROW(copy.at("absent"), nlohmann::json::out_of_range);
    EXPECT_EQ(Json::parse(copy.dump()), copy);
    int expected = 0;
    for (const auto& [key, value] : copy.items()) EXPECT_EQ(value, expected++) << key;

    if (n < 2) continue;
    EXPECT_EQ(object.erase("k0"), 1u);
    EXPECT_EQ(object.erase("k0"), 0u);
    object.erase(object.find(fmt::format("k{}", n - 1)));
    EXPECT_EQ(object.size(), static_cast<size_t>(n - 2));
    for (int i = 1; i < n - 1; ++i) EXPECT_EQ(object.at(fmt::format("k{}", i)), i);
    object["k0"] = "again";
    EXPECT_EQ(object.back(), "again");
    object.update(copy);
    EXPECT_EQ(object.size(), static_cast<size_t>(n));
    EXPECT_EQ(object["k0"], 0);
    const Json moved = std::move(object);
    EXPECT_EQ(moved.at(fmt::format("k{}", n - 1)), n - 1);
    Json cleared = moved;
    cleared.clear();
    EXPECT_FALSE(cleared.contains("k0"));
    cleared["k0"] = 1;
    EXPECT_EQ(cleared.dump(), R"({"k0":1})");
  }
}

TEST(Json, LargeObjectsTakeLinearTime) {
  constexpr int kMembers = 300'000;
  const std::string text = numbered(kMembers).dump();
  const auto begin = std::chrono::steady_clock::now();
  const Json object = parse_json(text, "t");
  EXPECT_EQ(object.at("k299999"), 299'999);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));  // measured: 0.2 s; quadratic: 100 s
}

TEST(Json, BadTextIsOneShortLine) {
  EXPECT_THAT(error_of([] { parse_json("{\"a\": }", "t.json"); }),
              AllOf(HasSubstr("t.json: is not valid JSON"), HasSubstr("column 7")));
  EXPECT_THAT(error_of([] { parse_json("", "t.json"); }), HasSubstr("unexpected end"));
  EXPECT_THAT(error_of([] { parse_json("1e999", "t.json"); }), HasSubstr("t.json"));
  EXPECT_THAT(error_of([] { parse_json("\"\xff\"", "t.json"); }), HasSubstr("UTF-8"));
  const std::string message = error_of([] { parse_json("{\"a\nb" + std::string(100'000, 'x'), "t.json"); });
  EXPECT_THAT(message, AllOf(HasSubstr("line 2"), Not(HasSubstr("\n"))));
  EXPECT_LT(error_of([] { parse_json("\"" + std::string(100'000, 'x'), "t.json"); }).size(), 300u);
}

TEST(Json, BombsOfBracketsAreRefused) {
  for (const std::string& open : {std::string("["), std::string("{\"a\":")}) {
    std::string text;
    for (int i = 0; i < 1'000'000; ++i) text += open;
    EXPECT_THAT(error_of([&] { parse_json(text, "t.json"); }), HasSubstr("nested more than"));
  }
  EXPECT_EQ(parse_json("[" + std::string(100, '[') + std::string(100, ']') + ", \"[[[[\\\"[[\"]", "t").size(), 2u);
  std::string brackets = "\"";
  brackets += std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"";
  EXPECT_TRUE(parse_json(brackets, "t").is_string());
}

TEST(Json, Members) {
  const Json object = parse_json(R"({"t":true,"i":3,"d":2.5,"s":"x","n":null})", "t.json");
  EXPECT_EQ(json_at<int64_t>(object, "i", "t.json"), 3);
  EXPECT_EQ(json_at<double>(object, "i", "t.json"), 3.0);
  EXPECT_EQ(json_or<bool>(object, "t", false, "t.json"), true);
  EXPECT_EQ(json_or<std::string>(object, "n", "otherwise", "t.json"), "otherwise");
  EXPECT_EQ(json_or<std::string>(object, "absent", "otherwise", "t.json"), "otherwise");
  EXPECT_THAT(error_of([&] { json_at<int64_t>(object, "d", "t.json"); }),
              AllOf(HasSubstr("t.json"), HasSubstr("\"d\" should be an integer")));
  EXPECT_THAT(error_of([&] { json_at<std::string>(object, "n", "t.json"); }), HasSubstr("\"n\" is missing"));
  EXPECT_THAT(error_of([] { json_at<int64_t>(parse_json(R"({"i":18446744073709551615})", "t"), "i", "t.json"); }),
              HasSubstr("integer"));
  EXPECT_THAT(error_of([&] { json_at<bool>(Json::array(), "t", "t.json"); }), HasSubstr("JSON object"));
}

}  // namespace
}  // namespace lowbit
