import { exitOnClosedPipe } from '@whetstone/core/util';
import { runBackendCommand } from './command-line/command-line.js';

exitOnClosedPipe();
process.exitCode = await runBackendCommand(process.argv.slice(2));
