import koffi from 'koffi';

/** Exit code of a process that was interrupted twice. */
const INTERRUPTED = 130;

const waits = new Set<() => void>();

/**
 * Makes the process wait for its devices when it exits. A library whose threads work while its exit handlers run ends
 * in a segmentation fault. A process that was interrupted twice does not wait: it exits without exit handlers.
 *
 * @param wait waits until a device is done
 */
export function waitAtExit(wait: () => void): void {
  if (waits.size === 0) process.on('exit', waitForDevices);
  waits.add(wait);
}

function waitForDevices(code: number): void {
  if (code === INTERRUPTED && process.platform !== 'win32') koffi.load(null).func('void _exit(int)')(code);
  for (const wait of waits) {
    try {
      wait();
    } catch {
      // The result that failed has no reader any more.
    }
  }
}
