// Command emulator runs the binary of a function for one event, as Lambda does: the event is
// read from standard input, and the answer is written to standard output. The function's
// environment and its log are those of this program. It fails if the function fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
)

func main() {
	name := flag.String("function", "function", "name of the function")
	flag.Parse()
	if err := run(*name, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "emulator:", err)
		os.Exit(1)
	}
}

func run(name string, arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("got %d arguments, want the path of the binary", len(arguments))
	}
	event, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	function, err := runtimeapi.Start(runtimeapi.Config{
		Binary: arguments[0], Env: os.Environ(), FunctionName: name, Region: os.Getenv("AWS_REGION"), Account: "123456789012",
		MemoryMB: 256, Timeout: 25 * time.Second, Stdout: os.Stderr, Stderr: os.Stderr,
	})
	if err != nil {
		return err
	}
	defer func() { _ = function.Close() }()
	result, err := function.Invoke(context.Background(), runtimeapi.Invocation{Payload: event})
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", result.Payload)
	if result.FunctionError != "" {
		return fmt.Errorf("the function failed: %s", result.FunctionError)
	}
	return nil
}
