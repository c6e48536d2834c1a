#!/usr/bin/env -S MALLOC_ARENA_MAX=2 node --max-semi-space-size=16
// glibc keeps a heap for each of up to eight threads a core, and what was freed in them: with two in all a million deferred
// take 35 MB less, and nothing gets slower. V8 lets its young generation grow to 134 MB: with halves of 16 MB a busy server
// takes 80 to 100 MB less, and spends 2 us a message more than with 32 MB.
// Plain old syntax: a Node that is too old must get as far as the line that says so.
const wanted = [22, 22, 2]
const present = process.versions.node.split('.').map(Number)
const differs = wanted.findIndex((part, i) => part !== present[i])

if (differs !== -1 && present[differs] < wanted[differs]) {
  process.stderr.write(`posthorn needs Node.js ${wanted.join('.')} or newer, this is ${process.versions.node}\n`)
  process.exit(78)
}

// Before anything starts the thread pool: with four threads a few password hashes hold up the store's syncs.
if (!process.env.UV_THREADPOOL_SIZE) process.env.UV_THREADPOOL_SIZE = '16'

// Installed, the command runs from dist/. In a checkout it runs from src/, if dist/ was not built or the sources were
// asked for with --conditions, and then all our packages do.
const condition = '@posthorn/source'
const options = process.execArgv.concat(process.env.NODE_OPTIONS || '').join(' ')
const asked = options.indexOf(condition) !== -1

import('node:fs')
  .then(fs => {
    const built = new URL('../dist/main.js', import.meta.url)
    const source = new URL('../src/main.ts', import.meta.url)
    if (!fs.existsSync(source) || (!asked && fs.existsSync(built))) return import(built.href)
    if (asked) return import(source.href)
    return import('node:module').then(module => {
      module.registerHooks({
        resolve: (specifier, context, next) =>
          next(specifier, Object.assign({}, context, { conditions: context.conditions.concat(condition) })),
      })
      return import(source.href)
    })
  })
  .then(main => main.main())
  .catch(error => {
    process.stderr.write(`posthorn failed to start: ${error.stack}\n`)
    process.exitCode = 70
  })
