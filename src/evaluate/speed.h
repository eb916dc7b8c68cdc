// How fast a model runs, beside what the machine could do.
#pragma once

#include "model/transformer.h"

namespace lowbit {

/// Tokens a second of one pass over `tokens` prompt tokens, logits of the last one only. After a warm-up.
double prompt_speed(Transformer& model, int64_t tokens);

/// Tokens a second of generating `tokens` tokens one by one, from an empty context. After a warm-up.
double generation_speed(Transformer& model, int64_t tokens);

/// Bytes a second that all threads together read from memory: the limit of generation. Takes about a second.
double stream_read_bandwidth(ThreadPool& pool);

}  // namespace lowbit
