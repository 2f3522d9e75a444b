import { formatError, isWhetstoneError } from '@whetstone/core/contract';
import { createProgram } from './program.js';

try {
  await createProgram().parseAsync();
} catch (error) {
  process.stderr.write(`${isWhetstoneError(error) ? formatError(error) : ((error as Error).stack ?? String(error))}\n`);
  process.exitCode = 1;
}
