import koffi from 'koffi';

/** Exit code of a process that was told twice to stop. */
const INTERRUPTED = 130;

const waits = new Set<() => void>();

/**
 * Has a process that ends wait for what its devices still do: a library whose threads are at work while its exit
 * handlers run ends in a segmentation fault. Who was interrupted and will not wait leaves without exit handlers.
 *
 * @param wait waits until the device is done
 */
export function waitAtExit(wait: () => void): void {
  if (waits.size === 0) process.on('exit', leave);
  waits.add(wait);
}

function leave(code: number): void {
  if (code === INTERRUPTED && process.platform !== 'win32') koffi.load(null).func('void _exit(int)')(code);
  for (const wait of waits) {
    try {
      wait();
    } catch {
      // Whoever wanted the result would have been told.
    }
  }
}
