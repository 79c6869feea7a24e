module tachyon

go 1.24
