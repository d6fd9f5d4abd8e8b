package cpushare

import (
	"errors"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// Used returns the time for which all threads of a process have run so far.
func Used(pid int) (time.Duration, error) {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of Linux's posix-timers_types.h.
	clock := uintptr(int32(^pid)<<3 | 2)
	var t syscall.Timespec
	// #nosec G103 -- the kernel writes to t before the call returns
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0, errno
	}
	return time.Duration(t.Nano()), nil
}

// Limit gives the process share of one core from now on, until stop is called. The process
// then continues without a limit. A process that has ended is not an error.
func Limit(pid int, share float64) (stop func() error, err error) {
	used, err := Used(pid)
	if err != nil {
		return nil, err
	}
	l := &limiter{pid: pid, quota: time.Duration(share * float64(Period)), used: used, end: time.Now().Add(Period), done: make(chan struct{})}
	l.budget = l.quota
	result := make(chan error, 1)
	go func() { result <- l.run() }()
	return func() error {
		close(l.done)
		if err := <-result; !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	}, nil
}

// limiter is the state of one process, which its goroutine alone uses.
type limiter struct {
	pid     int
	quota   time.Duration
	budget  time.Duration // that is left in this period; negative: that is missing in the next
	used    time.Duration // when budget was computed
	end     time.Time     // of this period
	stopped bool
	done    chan struct{}
}

// run sleeps on a thread of its own, because the runtime's timers wait for a whole
// millisecond at least.
func (l *limiter) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case <-l.done:
			return l.signal(false)
		default:
		}
		wait, err := l.step(time.Now())
		if err != nil {
			return errors.Join(err, l.signal(false))
		}
		pause := syscall.NsecToTimespec(int64(wait))
		_ = syscall.Nanosleep(&pause, nil) // a signal ends it early, which is as well
	}
}

// step stops or continues the process and returns when it must be called again.
func (l *limiter) step(now time.Time) (wait time.Duration, err error) {
	used, err := Used(l.pid)
	if err != nil {
		return 0, err
	}
	l.budget -= used - l.used
	l.used = used
	for !now.Before(l.end) {
		l.budget = min(l.quota, l.budget+l.quota)
		l.end = l.end.Add(Period)
	}
	if err := l.signal(l.budget <= 0); err != nil {
		return 0, err
	}
	wait = l.end.Sub(now)
	if !l.stopped {
		// All cores may use the budget at once.
		wait = min(wait, max(l.budget/time.Duration(runtime.NumCPU()), 20*time.Microsecond))
	}
	return wait, nil
}

// signal stops the process or continues it, if that changes anything.
func (l *limiter) signal(stop bool) error {
	if stop == l.stopped {
		return nil
	}
	l.stopped = stop
	if stop {
		return syscall.Kill(l.pid, syscall.SIGSTOP)
	}
	return syscall.Kill(l.pid, syscall.SIGCONT)
}
