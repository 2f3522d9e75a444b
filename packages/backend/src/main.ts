import { runBackendCommand } from './command-line/command-line.js';

process.exitCode = await runBackendCommand(process.argv.slice(2));
