package app

import "runtime"

// maxIdle is how many goroutines wait for the next function. The loads of a miss run one after the
// other.
const maxIdle = 2

// workers runs functions in goroutines, a few of which it keeps with their stacks: it takes 2 % of
// a miss to give new goroutines the stacks that its loads need. It is safe for concurrent use.
type workers struct {
	next chan func()
	idle chan struct{} // has an element for each goroutine that waits for next
}

func newWorkers() *workers {
	return &workers{next: make(chan func()), idle: make(chan struct{}, maxIdle)}
}

// run runs f in a goroutine. f must not panic.
func (w *workers) run(f func()) {
	select {
	case w.next <- f:
	default:
		go w.work(f)
	}
}

func (w *workers) work(f func()) {
	for {
		growStack() // Go's collector halves the stack of a goroutine that waits
		f()
		select {
		case w.idle <- struct{}{}:
		default:
			return
		}
		f = <-w.next
		<-w.idle
	}
}

// stackSize is what a call of the AWS SDK or an HTTP exchange needs of a stack, in bytes.
const stackSize = 16 << 10

// growStack lets a goroutine's stack grow while that is nearly empty. Go would otherwise copy the
// frames of a load to a larger stack several times, which takes a twentieth of its CPU time.
//
//go:noinline
func growStack() {
	var room [stackSize]byte
	runtime.KeepAlive(&room)
}
