module github.com/wsticket/wsticket

go 1.26
