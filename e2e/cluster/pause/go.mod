module pg-rejoin.test/e2e/pause

go 1.24.0
