import { exitOnOutputError } from '@whetstone/core/files';
import { runBackendCommand } from './command-line/command-line.js';

exitOnOutputError();
process.exitCode = await runBackendCommand(process.argv.slice(2));
