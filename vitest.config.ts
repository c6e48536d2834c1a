import { defineConfig } from 'vitest/config'

const conditions = ['@posthorn/source', 'node', 'import', 'module', 'default']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [
      'packages/*/test/**/*.test.ts',
      'packages/plugins/*/test/**/*.test.ts',
      'test/{scenarios,integration,repo}/**/*.test.ts',
    ],
    pool: 'forks',
    execArgv: ['--conditions=@posthorn/source'],
    maxWorkers: 2,
    testTimeout: 20_000,
  },
})
