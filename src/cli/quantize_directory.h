// lowbit quantize where the scheme makes a Hugging Face directory.
#pragma once

#include <string>

#include "cli/command.h"
#include "cli/report.h"
#include "cli/rounding.h"

namespace lowbit {

struct DirectoryRequest {
  std::string in, out, scheme, search;
  bool strict = false, allow_requantize = false, plan_only = false, rehearse = false;
  RoundingOptions rounding;
  ReportOptions report;
};

/// False if the scheme is none of a directory's; otherwise the whole work.
bool quantize_directory(const Common& common, const DirectoryRequest& request);

/// The forms of schemes, for --help and for the message about an unknown one.
std::string directory_schemes_help();
std::string directory_scheme_names();

}  // namespace lowbit
