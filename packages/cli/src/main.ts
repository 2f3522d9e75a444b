#!/usr/bin/env node
import { exitOnOutputError } from '@whetstone/core/files';
import { runCommandLine } from './command-line.js';

exitOnOutputError();
process.exitCode = await runCommandLine(process.argv.slice(2));
