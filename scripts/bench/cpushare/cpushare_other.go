//go:build !linux

package cpushare

import "time"

// Limit returns [ErrUnsupported].
func Limit(int, float64) (stop func() error, err error) { return nil, ErrUnsupported }

// Used returns [ErrUnsupported].
func Used(int) (time.Duration, error) { return 0, ErrUnsupported }
