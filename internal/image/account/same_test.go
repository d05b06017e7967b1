package account

import (
	"bytes"
	"fmt"
)

func same(a, b Files) bool {
	return bytes.Equal(a.Passwd, b.Passwd) && bytes.Equal(a.Group, b.Group) &&
		bytes.Equal(a.Shadow, b.Shadow) && bytes.Equal(a.Gshadow, b.Gshadow)
}

func sprint(u User) string {
	return fmt.Sprintf("%s %d %d %v %s %s", u.Name, u.UID, u.GID, u.Groups, u.Home, u.Shell)
}
