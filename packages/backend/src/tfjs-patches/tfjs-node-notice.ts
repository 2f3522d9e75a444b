import { env } from '@tensorflow/tfjs-core';

/**
 * Runs the first write of tfjs's cpu backend without its notice about tfjs-node. The backend prints the notice unless
 * tfjs-core is in production mode, which is on only during this write.
 */
export function withoutTfjsNodeNotice(write: () => void): void {
  const before = env().getBool('PROD');
  env().set('PROD', true);
  try {
    write();
  } finally {
    env().set('PROD', before);
  }
}
