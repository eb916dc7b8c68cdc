// What a long job has finished, on disk: after a crash or kill -9 the same command goes on behind it, and ends with the
// same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"

namespace lowbit {

/// What became of one matrix.
struct MatrixReport {
  std::string tensor, encoding;
  /// ||(W - Q) X||^2 / ||W X||^2 over the calibration inputs X of the quantized model; of the nearest codes, with the
  /// channels of X taken as uncorrelated.
  double error;
  double damping;  ///< that was needed
  bool fell_back;  ///< GPTQ was asked for, but H could not be factored, or the format has no grid for GPTQ
  double seconds;
};

/// Rows of a stored weight, in a form that the LayerwiseTarget which made it can store again.
struct JournalPiece {
  WeightId id;
  int64_t first_row = 0;
  std::vector<std::byte> bytes;
};

/// A finished step: a layer, or (numbered after the layers) the output matrix.
struct JournalStep {
  std::vector<JournalPiece> pieces;
  std::vector<MatrixReport> reports;
};

/// A folder with one file a step. Steps are finished, and read again, in order.
class Journal {
 public:
  /// `key` holds everything that decides the bytes. Steps of a folder with another key are of no use, and are removed
  /// by the first write(). Nothing is written before that.
  Journal(std::filesystem::path folder, std::string key);

  /// How many steps are there (one that is damaged is found out by read()).
  int finished() const { return finished_; }
  /// Whether the folder holds a journal of another job, or of another version of the program.
  bool foreign() const { return foreign_; }
  const std::filesystem::path& folder() const { return folder_; }

  /// Nothing if there is no such step, or its file is damaged.
  std::optional<JournalStep> read(int step) const;
  /// Durable when it returns. Throws Error on a full disk.
  void write(int step, const JournalStep& content);
  /// The job is done.
  void remove() const;

 private:
  std::filesystem::path file(int step) const;

  const std::filesystem::path folder_;
  const std::string key_;
  int finished_ = 0;
  bool foreign_ = false;
};

/// Which contents a model's files have, without reading them: their names, sizes and times of last change.
std::string files_key(const std::filesystem::path& model);

}  // namespace lowbit
