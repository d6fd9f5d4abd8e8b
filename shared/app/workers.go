package app

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
