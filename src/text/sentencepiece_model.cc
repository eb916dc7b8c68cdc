#include "text/sentencepiece_model.h"

#include <protozero/pbf_message.hpp>

#include "base/error.h"
#include "base/file.h"

namespace lowbit {
namespace {

constexpr uint64_t kLargestFile = uint64_t{1} << 28;

enum class Model : protozero::pbf_tag_type { Pieces = 1, Trainer = 2, Normalizer = 3 };
enum class Piece : protozero::pbf_tag_type { Text = 1, Score = 2, Type = 3 };
enum class Trainer : protozero::pbf_tag_type {
  ModelType = 3,
  WhitespaceAsSuffix = 24,
  ByteFallback = 35,
  UnkId = 40,
  BosId = 41,
  EosId = 42,
  PadId = 43
};
enum class Spec : protozero::pbf_tag_type { Table = 2, AddDummyPrefix = 3, RemoveSpaces = 4, EscapeSpaces = 5 };

// A field by number and wire type: one of another type than the format says is skipped like an unknown one.
template <typename T>
constexpr uint32_t varint(T field) {
  return protozero::tag_and_type(field, protozero::pbf_wire_type::varint);
}
template <typename T>
constexpr uint32_t bytes(T field) {
  return protozero::tag_and_type(field, protozero::pbf_wire_type::length_delimited);
}
template <typename T>
constexpr uint32_t fixed32(T field) {
  return protozero::tag_and_type(field, protozero::pbf_wire_type::fixed32);
}

class Parser {
 public:
  explicit Parser(std::string where) : where_(std::move(where)) {}

  SentencePieceModel parse(const std::string& file) {
    bool trained = false;
    protozero::pbf_message<Model> message(file);
    while (message.next()) {
      switch (message.tag_and_type()) {
        case bytes(Model::Pieces):
          read_piece(message.get_message());
          break;
        case bytes(Model::Trainer):
          read_trainer(message.get_message());
          trained = true;
          break;
        case bytes(Model::Normalizer):
          read_normalizer(message.get_message());
          break;
        default:
          message.skip();
      }
    }
    if (model_.tokens.empty() || !trained) fail("{}: is not a SentencePiece model", where_);
    if (remove_spaces_) fail("{}: removes repeated spaces, which is not supported", where_);
    const auto size = static_cast<int64_t>(model_.tokens.size());
    for (auto* id : {&model_.unk, &model_.bos, &model_.eos, &model_.pad})
      if (*id && (**id < 0 || **id >= size)) id->reset();  // -1: there is none
    return std::move(model_);
  }

 private:
  void read_piece(protozero::pbf_message<Piece> message) {
    std::string text;
    float score = 0;
    int32_t type = 1;
    while (message.next()) {
      switch (message.tag_and_type()) {
        case bytes(Piece::Text):
          text = message.get_string();
          break;
        case fixed32(Piece::Score):
          score = message.get_float();
          break;
        case varint(Piece::Type):
          type = message.get_enum();
          break;
        default:
          message.skip();
      }
    }
    // The numbers of SentencePiece's types are those that GGUF took over.
    if (type < 1 || type > 6) fail("{}: piece {} has type {}, which is not known", where_, model_.tokens.size(), type);
    if (!(score >= -3e38F && score <= 3e38F))
      fail("{}: piece {} has a score that is not finite", where_, model_.tokens.size());
    model_.tokens.push_back(std::move(text));
    model_.scores.push_back(score);
    model_.types.push_back(static_cast<TokenType>(type));
  }

  void read_trainer(protozero::pbf_message<Trainer> message) {
    int32_t type = 1;
    model_.unk = 0;
    model_.bos = 1;
    model_.eos = 2;
    while (message.next()) {
      switch (message.tag_and_type()) {
        case varint(Trainer::ModelType):
          type = message.get_enum();
          break;
        case varint(Trainer::WhitespaceAsSuffix):
          if (message.get_bool()) fail("{}: writes spaces as suffixes, which is not supported", where_);
          break;
        case varint(Trainer::ByteFallback):
          model_.byte_fallback = message.get_bool();
          break;
        case varint(Trainer::UnkId):
          model_.unk = message.get_int32();
          break;
        case varint(Trainer::BosId):
          model_.bos = message.get_int32();
          break;
        case varint(Trainer::EosId):
          model_.eos = message.get_int32();
          break;
        case varint(Trainer::PadId):
          model_.pad = message.get_int32();
          break;
        default:
          message.skip();
      }
    }
    const char* names[] = {"?", "Unigram", "BPE", "word", "character"};
    if (type != 2)
      fail("{}: is a SentencePiece {} model; only BPE models are supported", where_,
           type >= 1 && type <= 4 ? names[type] : "?");
  }

  void read_normalizer(protozero::pbf_message<Spec> message) {
    remove_spaces_ = true;  // what the format means where it says nothing
    while (message.next()) {
      switch (message.tag_and_type()) {
        case bytes(Spec::Table):
          if (message.get_view().size() > 0)
            fail("{}: normalizes text by a table, which is not supported; use its tokenizer.json", where_);
          break;
        case varint(Spec::AddDummyPrefix):
          model_.add_dummy_prefix = message.get_bool();
          break;
        case varint(Spec::RemoveSpaces):
          remove_spaces_ = message.get_bool();
          break;
        case varint(Spec::EscapeSpaces):
          if (!message.get_bool()) fail("{}: does not mark spaces, which is not supported", where_);
          break;
        default:
          message.skip();
      }
    }
  }

  std::string where_;
  SentencePieceModel model_;
  bool remove_spaces_ = true;
};

}  // namespace

SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path) {
  const std::string bytes = read_text_file(path, kLargestFile);
  try {
    return Parser(path.string()).parse(bytes);
  } catch (const protozero::exception& e) {
    fail("{}: is not a SentencePiece model: {}", path.string(), e.what());
  }
}

}  // namespace lowbit
