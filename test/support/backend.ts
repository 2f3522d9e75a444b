import { resolveBackend } from '@whetstone/backend';
import { findTensorflow } from '@whetstone/backend/install';
import type { TensorBackendInfo } from '@whetstone/core/contract';

/**
 * Backends that numeric tests run on: `WHETSTONE_TEST_BACKEND` (several with commas) where it is set, else cpu, wasm,
 * and whetstone where libtensorflow is there; where it is not, that is said aloud. `xla` is whetstone on an XLA plugin;
 * every length compiles anew there, so it is tested when it is asked for.
 */
export async function testBackends(): Promise<readonly string[]> {
  const asked = process.env['WHETSTONE_TEST_BACKEND'];
  if (asked !== undefined && asked !== '') return asked.split(',');
  const library = await findTensorflow();
  if ('folder' in library) return ['cpu', 'wasm', 'whetstone'];
  console.warn(
    `Not tested on the backend whetstone: ${library.reasons.join(', and ')}. Fetch it with: npx whetstone ` +
      'backend install cpu',
  );
  return ['cpu', 'wasm'];
}

/** Makes a backend the present one, and says what it is. */
export async function useBackend(name: string): Promise<TensorBackendInfo> {
  return resolveBackend({ name, threads: null });
}
