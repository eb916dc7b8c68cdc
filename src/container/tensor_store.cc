#include "container/tensor_store.h"
