#include "model/names.h"
