package fleettest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fleet"
)

// row returns an item of that many bytes.
func row(name string, bytes int) fleet.Item {
	item := fleet.Item{Name: name}
	item.State = make([]byte, bytes-size(item))
	return item
}

func write(t *testing.T, table *Table, item fleet.Item, condition fleet.Condition) error {
	t.Helper()
	_, _, err := table.Update(t.Context(), item, condition)
	return err
}

func TestUnits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		always := fleet.Condition{Any: true}
		for _, item := range []fleet.Item{row("small", 1<<10), row("large", 4<<10+1)} {
			if err := write(t, &table, item, always); err != nil {
				t.Fatal(err)
			}
		}
		// A condition that does not hold costs as much as a write of the item that is there.
		if err := write(t, &table, row("large", 1<<10), fleet.Condition{Like: &fleet.Item{}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, name := range []string{"small", "large", "large", "none"} {
			if _, err := table.Get(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		got := table.Usage()
		if got.Writes != 1+5+5 || got.Reads != 1+2+2+1 || got.Largest != 4<<10+1 {
			t.Errorf("got %v write units, %v read units, %d bytes, want 11, 6, 4097", got.Writes, got.Reads, got.Largest)
		}
		if large := got.Peaks["large"]; large != (Peak{Reads: 4, Writes: 10}) {
			t.Errorf("got %v in one second, want 4 and 10 units", large)
		}
	})
}

// One item has its limit to itself, and the calls that are throttled use nothing of it.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		table.Limit()
		always := fleet.Condition{Any: true}
		burst := func(name string, calls int) (throttled int) {
			for range calls {
				if err := write(t, &table, row(name, 1<<10), always); errors.Is(err, fleet.ErrThrottled) {
					throttled++
				}
			}
			return throttled
		}
		if n := burst("a", WriteUnits+7); n != 7 {
			t.Errorf("%d of %d writes in one moment were throttled, want 7", n, WriteUnits+7)
		}
		if n := burst("b", WriteUnits); n != 0 {
			t.Errorf("%d writes of another item were throttled", n)
		}
		time.Sleep(time.Second / 2)
		if n := burst("a", WriteUnits); n != WriteUnits/2 {
			t.Errorf("%d of %d writes half a second later were throttled, want half", n, WriteUnits)
		}
		reads := 0
		for range ReadUnits + 3 {
			if _, err := table.Get(t.Context(), "b"); errors.Is(err, fleet.ErrThrottled) {
				reads++
			}
		}
		if got := table.Usage(); reads != 3 || got.Throttled != 7+WriteUnits/2+3 || got.Peaks["b"].Reads != ReadUnits+3 {
			t.Errorf("%d reads were throttled, %d calls in all, %v reads in a second", reads, got.Throttled, got.Peaks["b"].Reads)
		}
	})
}

func TestTooLargeItem(t *testing.T) {
	var table Table
	if err := write(t, &table, row("a", MaxItem), fleet.Condition{Any: true}); err != nil {
		t.Error(err)
	}
	if err := write(t, &table, row("a", MaxItem+1), fleet.Condition{Any: true}); err == nil || errors.Is(err, fleet.ErrThrottled) {
		t.Errorf("an item of more than 400 KB: got %v", err)
	}
}
