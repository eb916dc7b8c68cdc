#include "model/source.h"
