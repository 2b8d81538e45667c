package terminal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Answer is what a person types, as a line, when the command has asked for it.
type Answer struct {
	Question string // the last words before the command waits
	Text     string
	// Think returns what is typed instead of Text, if it is not nil. It may take its
	// time, in which the command has to wait.
	Think func() string
}

// Run runs a command that was not started yet, with a terminal as its standard
// input and outputs, to its end. It returns what was to be seen there, the answers
// too, in lines that end with \n; beside an error as well, which is an
// *exec.ExitError if the command failed. A question may be asked again.
func Run(cmd *exec.Cmd, answers ...Answer) (string, error) {
	master, slave, err := open()
	if err != nil {
		return "", fmt.Errorf("opening a terminal: %w", err)
	}
	defer master.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	err = cmd.Start()
	_ = slave.Close() // the command has its own
	if err != nil {
		return "", err
	}
	seen, err := attend(master, answers)
	return strings.ReplaceAll(seen, "\r\n", "\n"), errors.Join(err, cmd.Wait())
}

// attend reads what is printed, and answers, until nobody has the terminal open.
func attend(master *os.File, answers []Answer) (string, error) {
	var seen strings.Builder
	answered := 0 // up to where
	for buf := make([]byte, 4<<10); ; {
		n, err := master.Read(buf)
		seen.Write(buf[:n])
		if errors.Is(err, syscall.EIO) { // as the kernel says that it is the end
			return seen.String(), nil
		}
		if err != nil {
			return seen.String(), err
		}
		news := strings.TrimSpace(seen.String()[answered:])
		for _, a := range answers {
			if !strings.HasSuffix(news, a.Question) {
				continue
			}
			answered = seen.Len()
			text := a.Text
			if a.Think != nil {
				text = a.Think()
			}
			if _, err := master.WriteString(text + "\n"); err != nil {
				return seen.String(), err
			}
			break
		}
	}
}

// open makes a terminal: the end that a person has, and that of the command.
func open() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}
