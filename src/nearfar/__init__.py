"""nearfar: representations learned by contrast, pulling what is near together and pushing what is far apart."""
