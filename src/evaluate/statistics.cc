#include "evaluate/statistics.h"
