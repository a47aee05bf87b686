package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// epochEnv is https://reproducible-builds.org/specs/source-date-epoch/.
const epochEnv = "SOURCE_DATE_EPOCH"

// sourceDateEpoch returns the time that the environment names, in seconds since
// 1970, as the latest time of what is written; the zero time when it names
// none.
func sourceDateEpoch() (time.Time, error) {
	value := os.Getenv(epochEnv)
	if value == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return time.Time{}, as(errInvalid, fmt.Errorf("%s is not a number of seconds: %q", epochEnv, value))
	}
	return time.Unix(seconds, 0), nil
}
